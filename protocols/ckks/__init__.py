"""CKKS: any client may add to a sum. Who can open it is the mode of its key.

threshold    nobody holds the key, t of C holders open it together
    once per key epoch  Invite  Commit  Commits  Reveal  Deals  Checked  Certificate      holders, `keys`
    exchange            server says            answers
    1                   OpenEncrypted          client: Ciphertext            the one message a client says
    2                   EncryptedSum           holder: Partial               of t holders, the first set that answers
single       one decryptor, who is not the server
    once per key epoch  Invite                 Certificate
    2                   WholeSum               decryptor: Decrypted
seeded       all clients share the key and open for themselves; each round has a key of its own
    1                   OpenSeeded             client: SeededCiphertext
    2                   SeededSum
"""
