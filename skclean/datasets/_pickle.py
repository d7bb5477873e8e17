"""Read pickles that hold NumPy arrays alone, without running what else they may hold."""

import pickle
import zipfile
from io import BytesIO

import numpy as np

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def _encode(text, encoding="latin1"):
    """What pickles of protocol 2 call to make bytes out of text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(
            f"pickle: expected bytes in latin1, got {encoding!r}; do not load this file."
        )
    return text.encode("latin1")


#: The function of NumPy that array pickles name; where it lives differs between its versions.
_reconstruct = np.empty(0).__reduce__()[0]

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of builtin containers, numbers, text and NumPy arrays, and of nothing else."""

    def find_class(self, module, name):
        """Return one of the few callables that rebuild an array; refuse any other."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"pickle: expected NumPy arrays and builtin containers, got {module}.{name}; "
                f"do not load this file."
            ) from None


def load_arrays(stream):
    """Read a dictionary of arrays from a plain pickle or from a file that torch.save wrote.

    Parameters
    ----------
    stream : seekable binary file
        The file. The text of Python 2 pickles comes back as bytes.

    Returns
    -------
    content : object
        The pickled object.

    Raises
    ------
    pickle.UnpicklingError
        If the file is no pickle, or names a class or function other than those that rebuild
        NumPy arrays.
    """
    if zipfile.is_zipfile(stream):  # torch >= 1.6
        with zipfile.ZipFile(stream) as archive:
            names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1:
                raise pickle.UnpicklingError(
                    f"pickle: expected one data.pkl in the archive, got {len(names)}; do fetch the "
                    f"file again."
                )
            return ArrayUnpickler(BytesIO(archive.read(names[0])), encoding="bytes").load()
    stream.seek(0)
    content = ArrayUnpickler(stream, encoding="bytes").load()
    if content == _TORCH_MAGIC:  # torch < 1.6: magic number, protocol, platform, the object
        for _ in range(3):
            content = ArrayUnpickler(stream, encoding="bytes").load()
    return content
