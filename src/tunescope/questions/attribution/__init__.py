"""Which of the changes bought the gain?"""
