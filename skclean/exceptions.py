"""Warnings of skclean."""


class LabelsDroppedWarning(UserWarning):
    """Labels that travelled with the features are lost where a bare array is made of them."""


class NothingToSeparateWarning(UserWarning):
    """The labels show no second group: every row is kept, because nothing looks wrong."""
