"""One-shot: a client speaks once, and a committee opens the sum.

    once per epoch      Convene                 member: Enlisted             `convener` makes the certificate of them
    exchange            server says             answers
    1                   OpenOneShot             client: Concealed            the one message a client says
    2                   Included                member: Summed               one set of clients per round, ever

The mask is additive in its key: masked vectors add up to the sum under the sum of the keys (`secagg.rlwe`). Each client
deals its key to the members; they add up what they were dealt, and the server rebuilds the sum of the keys of exactly
the clients whose message arrived. So any client may vanish, and opening costs the same however many do.
"""
