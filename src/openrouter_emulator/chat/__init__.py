"""`POST /chat/completions`, from the body to the last byte."""
