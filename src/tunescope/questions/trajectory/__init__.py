"""When did the layers move during training?"""
