"""Surrogates over architecture terms: WL and NASBOT kernels, and Gaussian processes.

WL: Weisfeiler-Lehman. Schrodi et al., "Construction of Hierarchical Neural Architecture Search Spaces based on
Context-free Grammars", NeurIPS 2023 (arXiv 2211.01842). Written for any grammar of `jahslib.spaces.grammars`.
"""

import warnings

# GPyTorch compiles a function when it is imported, in a way that torch has come to warn of.
warnings.filterwarnings("ignore", message=r".*torch\.jit", category=FutureWarning, module=r"torch\.jit")
