"""How much did each weight change?"""
