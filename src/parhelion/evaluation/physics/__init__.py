"""Physics that must come out right: separation of species, cuts, exact structure, laws, what an analysis learns."""
