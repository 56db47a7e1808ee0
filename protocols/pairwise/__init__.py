"""Pairwise masking: SecAgg with signed keys, witnesses and verified reconstruction.

    exchange   server says   client answers   afterwards
    1          Open          Advertise        U1: who advertised keys
    2          Roster        Shares           U2: whose shares everybody holds
    3          Inbox         Masked           U3: whose vector is in the sum
    4          Survivors     Witness          everybody was shown the same U3     (active only)
    5          Witnesses     Unmask           the sum over U3, and nothing else

A client sends x + PRG(self) + sum over neighbours of +-PRG(pair). For those in U3 the self mask is
rebuilt from shares and removed, their pair masks cancel; for those in U2 but not in U3 the mask key
is rebuilt and what it left in the sum is removed. Nobody ever gives both for one client.
"""
