"""Scores in; probabilities, labels and weights out."""
