"""Values -> one self-contained HTML file; knows panels and their data, but no question and no study."""
