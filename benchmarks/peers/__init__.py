"""Other people's optimizers on our problems, each through its own documented interface and with its own defaults.

    python -m benchmarks.peers --results FOLDER [--tasks lcbench-3945] [--seeds 0-1] [--peers optuna_tpe,dehb]

README.md says what runs, in which environment, and how it is charged.
"""
