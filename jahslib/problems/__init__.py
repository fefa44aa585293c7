"""Problems: what a study optimises, and the ways to search without training (`jahslib.core.problem.Problem`)."""
