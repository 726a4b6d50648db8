"""In which directions did weights change, against chance?"""
