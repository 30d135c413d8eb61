"""Graph to plan to program: lower, group, schedule, plan memory, verify, run. Knows no backend."""
