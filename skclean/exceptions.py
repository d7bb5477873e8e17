"""Warnings and errors of skclean."""


class LabelsDroppedWarning(UserWarning):
    """Labels that travelled with the features are lost where a bare array is made of them."""


class NothingToSeparateWarning(UserWarning):
    """The labels show no second group: every row is kept, because nothing looks wrong."""


class ImageReadError(ValueError):
    """Images cannot be read, or differ in size: the message names their rows and files."""
