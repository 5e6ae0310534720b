"""zstd as archives have it: the standard library's, or its backport."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["compressor", "zstd"]
_LEVEL, _WORKERS, _JOB = 3, 2, 2**21
_WINDOW = 23
"""The logarithm of the most bytes that unpacking may have to look back; level 3 takes 21."""
UNPACKING: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW}


def compressor() -> "zstd.ZstdCompressor":
    """A compressor for a whole workspace, with threads of its own and jobs that keep its memory small."""
    parameter = zstd.CompressionParameter
    return zstd.ZstdCompressor(
        options={
            parameter.compression_level: _LEVEL,
            parameter.nb_workers: _WORKERS,
            parameter.job_size: _JOB,
            parameter.checksum_flag: 1,
        }
    )
