"""Which parameters do the predictions depend on?"""
