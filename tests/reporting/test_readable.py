"""Tables as notebooks show them."""

import numpy as np
import pandas as pd

from jahslib.reporting.readable import readable


def test_means_and_deviations_become_one_column():
    nan = np.nan
    table = pd.DataFrame(
        {
            "method": ["a", "b"],
            "n": [2, 1],
            "top1_mean": [0.5, 0.25],
            "top1_sd": [0.0125, nan],
            "params_mean": [29864.3, 5.0],
            "params_sd": [119.8, 2.0],
            "reported_params_mean": [29900, nan],
        }
    )
    shown = readable(table)
    assert list(shown) == ["method", "n", "top1", "params", "reported_params"] and shown.n.tolist() == [2, 1]
    assert shown.top1.tolist() == ["0.500 ± 0.013", "0.250"] or shown.top1.tolist() == ["0.500 ± 0.012", "0.250"]
    assert shown.params.tolist() == ["29864 ± 120", "5 ± 2"] and shown.reported_params.tolist() == ["29900", "–"]
