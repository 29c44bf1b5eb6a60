"""How a result was made, said in the result; and making it again."""
