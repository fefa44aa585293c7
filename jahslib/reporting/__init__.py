"""Records, the paper, the table of all trials, and exports to the dashboards of others."""
