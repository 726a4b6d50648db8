"""Named tensors to factors with addresses: one file for each adapter format."""
