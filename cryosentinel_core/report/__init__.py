"""What a person looks at: maps, pictures, summaries."""
