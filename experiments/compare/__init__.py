"""Many runs in one table, with plots and significance."""
