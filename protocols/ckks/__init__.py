"""Threshold CKKS: any client may add to a sum, nobody holds the key, t of C holders open it together.

once per key epoch      Invite  Commit  Commits  Reveal  Deals  Checked  Certificate         holders, `keys`
exchange   server says            answers
1          OpenEncrypted          client: Ciphertext            the one message a client says
2          EncryptedSum           holder: Partial               of t holders, the first set that answers
"""
