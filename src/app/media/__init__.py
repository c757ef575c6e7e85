"""What a file really is: told by its bytes, and by readers that run in processes which can be killed."""
