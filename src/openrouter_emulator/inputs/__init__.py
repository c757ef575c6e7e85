"""What comes with a prompt beside its text: pictures, documents and sound, taken apart as far as a bill needs it."""
