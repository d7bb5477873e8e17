"""TransformsSamples: a transformer whose output is a container, never a DataFrame."""

from typing import Any, Self

from sklearn.base import TransformerMixin

from skclean._labels import shown


class TransformsSamples(TransformerMixin):
    """Mixin of the steps that put out a `LabelledSamples`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # A container must not be wrapped as a DataFrame, whatever scikit-learn's global
        # configuration says; the setting is not inherited, so it is made for every subclass.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    def set_output(self, *, transform: Any = None) -> Self:
        """Accept the default output alone: a DataFrame would lose the labels.

        With this, ``Pipeline.set_output(transform="default")`` works.

        Parameters
        ----------
        transform : {"default"} or None, default=None
            None changes nothing, as "default" does.

        Raises
        ------
        ValueError
            For "pandas" and "polars".
        """
        if transform not in (None, "default"):
            raise ValueError(
                f"{type(self).__name__}: expected transform='default', got {shown(transform)}: the "
                "labels travel in a LabelledSamples, which a DataFrame would lose; do set the "
                "output of the steps before, or call .to_frame() on the result."
            )
        return self
