"""Features that are never held as a whole: read from files as dask arrays, results written."""

from typing import TYPE_CHECKING

from skclean._optional import lazy_names

_HOMES = {
    "ParquetEmbeddings": "skclean.scale.parquet",
    "open_features": "skclean.scale.features",
    "read_parquet_embeddings": "skclean.scale.parquet",
    "write_purified": "skclean.scale.purified",
}

if TYPE_CHECKING:
    from skclean.scale.features import open_features
    from skclean.scale.parquet import ParquetEmbeddings, read_parquet_embeddings
    from skclean.scale.purified import write_purified

__all__ = ["ParquetEmbeddings", "open_features", "read_parquet_embeddings", "write_purified"]

__getattr__ = lazy_names(__name__, _HOMES)
