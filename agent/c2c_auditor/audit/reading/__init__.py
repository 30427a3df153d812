"""One reading, prepared for the checks: its policy chains, the people behind guids and addresses, the plan and its comparison."""
