"""Gathering, training and judging the small language model that ships as tunescope's demo."""
