"""What is computed once and kept, and the names that it is kept under."""
