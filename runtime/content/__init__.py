"""What a value is made of, said before it is made: files, code, versions, and keys from them."""
