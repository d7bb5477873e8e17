"""REED's graph-structured regularisation: rows that look alike are to be predicted alike.

On the embeddings Z of a mini-batch stands a graph of weights A_uv = relu(cos(Z_u, Z_v) - tau_c)
(algorithm 1), and over its edges

    R = lambda_LU sum_{u in U, v in L} A_uv |p(x_u) - y_v|^2
      + lambda_UU sum_{u, v in U} A_uv |p(x_u) - p(x_v)|^2,

p the sharpened predictions. The squares are expanded, so that no array is larger than A.
"""

from numbers import Real
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor
from torch.nn import functional as F

from skclean._validation import Interval
from skclean.embeddings.nt_xent import full_precision
from skclean.neural.batch import Batch
from skclean.neural.passes import frozen_statistics

#: Pairs of the paper's batch, which its lambdas belong to.
PAPER_PAIRS = 128**2


def adjacency(first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """A = relu(cos(Z, Z') - tau_c), shape (b, b') (REED algorithm 1).

    Parameters
    ----------
    first, second : Tensor of shape (b, k) and (b', k)
        Embeddings. A row of zeros has cosine 0.
    threshold : float in [-1, 1]
        tau_c.
    """
    return F.relu(F.normalize(first, dim=1) @ F.normalize(second, dim=1).T - threshold)


def edge_penalty(A: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Sum over u, v of A_uv |p_u - q_v|^2.

    Parameters
    ----------
    A : Tensor of shape (b, b')
    p, q : Tensor of shape (b, C) and (b', C)

    Returns
    -------
    Tensor of shape ()
    """
    squares = A.sum(dim=1) @ (p * p).sum(dim=1) + A.sum(dim=0) @ (q * q).sum(dim=1)
    return squares - 2 * (p * (A @ q)).sum()


class GraphRegularizer(BaseEstimator):
    """Draws the predictions of rows together whose embeddings are alike (REED).

    Can stand beside any objective: it takes one weak view of the unlabelled rows of a batch for
    itself, which moves no statistics of batch norm. The sums of the paper, over a batch of 128, are
    taken as means over the pairs times 128²: at any batch size the weight beside the other terms is
    the paper's. Edges are multiplied by the weights of their rows.

    The threshold means something only where unlike rows have a cosine around 0: embeddings behind
    a ReLU, or raw pixels, have one near 1 for all pairs. `NeuralRetrainer` therefore subtracts the
    mean embedding, which the paper does not.

    Parameters
    ----------
    lambda_lu : float >= 0, default=0.01
        Weight of the pairs of an unlabelled row with a label.
    lambda_uu : float >= 0, default=0.005
        Weight of the pairs of unlabelled rows.
    threshold : float in [-1, 1], default=0.5
        tau_c: pairs of no greater cosine have no edge.
    temperature : float > 0, default=0.5
        T of the sharpening, p^(1/T) / sum p^(1/T).

    References
    ----------
    Zhang et al., "Decoupling Representation and Classifier for Noisy Label Learning" (REED), 2020,
    section 4.3.1 and algorithm 1.

    Examples
    --------
    >>> from skclean.neural.graph import GraphRegularizer
    >>> GraphRegularizer(threshold=0.6)
    GraphRegularizer(threshold=0.6)
    """

    _parameter_constraints: dict = {
        "lambda_lu": [Interval(Real, 0, None, closed="left")],
        "lambda_uu": [Interval(Real, 0, None, closed="left")],
        "threshold": [Interval(Real, -1, 1, closed="both")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, lambda_lu=0.01, lambda_uu=0.005, threshold=0.5, temperature=0.5):
        self.lambda_lu = lambda_lu
        self.lambda_uu = lambda_uu
        self.threshold = threshold
        self.temperature = temperature

    def terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Both sums, weighted.

        Parameters
        ----------
        network : Module
            From x to logits.
        batch : Batch
            Whose parts have an `embedding`.

        Returns
        -------
        dict of str to Tensor
            "graph_lu" and "graph_uu"; nothing if there are no unlabelled rows.

        Raises
        ------
        ValueError
            If rows have no embedding.
        """
        self._validate_params()
        labelled, unlabelled = batch.labelled, batch.unlabelled
        if unlabelled is None or not len(unlabelled):
            return {}
        Z, Z_labelled = unlabelled.embedding, labelled.embedding
        if Z is None or Z_labelled is None:
            raise ValueError(
                "GraphRegularizer: expected embeddings of all rows, got none; do pass a container "
                "with features, or leave the graph out."
            )
        with frozen_statistics(network):
            logits = full_precision(network(batch.weak(unlabelled.x)))
        # Cosines in half precision have two decimals.
        with torch.autocast(logits.device.type, enabled=False):
            # p^(1/T), normalised, is the softmax of the logits over T.
            p = torch.softmax(logits / self.temperature, dim=1)
            Z, Z_labelled = Z.to(p), Z_labelled.to(p)
            weight = unlabelled.weight.to(p)[:, None]
            within = weight * adjacency(Z, Z, self.threshold) * weight.T
            across = weight * adjacency(Z, Z_labelled, self.threshold) * labelled.weight.to(p)
            return {
                "graph_lu": self._scaled(self.lambda_lu, across, p, labelled.target.to(p)),
                "graph_uu": self._scaled(self.lambda_uu, within, p, p),
            }

    def _scaled(self, weight, A, p, q):
        return weight * PAPER_PAIRS / max(A.numel(), 1) * edge_penalty(A, p, q)
