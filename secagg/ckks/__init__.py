"""CKKS with keys that nobody holds alone, for sums and nothing but sums.

plan      how many bits travel, and the proof that sums open exactly
sample    small noise and uniform residues from keystreams
cipher    integers in coefficients: encrypt, add, open
share     collective keys: dealing, partial decryption, combination
whole     keys that one party has: a named decryptor's, or the one that clients share
ceremony  that nobody chose the key, and that all deals fit: commitments, the check of degrees, the probe
binding   a linear hash, by which sums too large to be shown in halves are those of their contributors
guard     solving for the key from what would be published, with quotients modulo q by ntt
wire      residues as planes of bytes
seal      the same encryption by TenSEAL's SEAL, and its slots; the only file that imports tenseal
"""
