"""Two samples side by side: rows that belong together, bins, categories, features; random counts and signs."""
