"""What the rules do to traffic: who reaches whom on which ports, beside what the policies allow."""
