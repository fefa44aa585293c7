"""Study 05's two steps: the search for a cell by DARTS, and the networks stacked of cells."""
