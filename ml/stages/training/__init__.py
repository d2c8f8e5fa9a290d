"""How a model is made: three competitors learn from the fit window, the select window chooses.

Nothing here reads the holdout, and nothing here reads anything at all: rows come in as a frame.
"""
