"""One reading, prepared for the checks: policy chains, lookups of apps, settings, the plan and its comparison."""
