"""Addresses of 0.4.0, which must go on opening the same pictures."""

from __future__ import annotations

RIVER = "He+sat+on+the+river+bank+and+watched+the+water."
MONEY = "She+opened+an+account+at+the+bank+to+save+money."
CHILDREN = "The+children+went+to+the+river.&text_pair=They+played+in+the+water+all+day."
# As the address bar had them: a page at its first picture, after a change, and its examples.
ADDRESSES = [
    f"/explore?model=bert&text={RIVER}&kind=encoder&layer=0&head=0",
    f"/explore?model=bert&text={RIVER}&layer=2&head=3&heads=0.2,4.1&query=6&side=key&view=matrix",
    f"/explore?model=bert&text={CHILDREN}&kind=encoder&layer=1&head=2&segments=ab&threshold=0.1",
    "/explore?model=gpt&text=Bob+cashed+a+check+at+the+bank&reduce=rollout&layer=3&special=hide",
    "/explore?model=translator&text=El+banco+est%C3%A1+cerrado.&target=The+bank&kind=cross&layer=3",
    "/explore?model=recurrent&text=El+banco+est%C3%A1+cerrado.",
    f"/compare?model=bert&text={RIVER}&model_b=bert&text_b={MONEY}&word=bank&word_b=",
    f"/compare?model=bert&text={RIVER}&text_b={RIVER}&word=bank&model_b=gpt",
    f"/compare?model=bert&text={RIVER}&text_b={RIVER}&word=bank&off=0.2&layer=1&head=1",
    "/masks?model=bert&texts=This+is+a+test%0AThis+is+it&kind=encoder&layer=0&head=0&row=1",
    "/masks?model=gpt&texts=One%0ATwo+words&kind=decoder&layer=1&head=3&row=0&off=causal&fill=-5",
    "/positions?model=bert&n_positions=64&d_model=64&base=10000&measure=cosine&shift=5"
    "&dimension=0&position=0&text=I+like+NLP&text_b=NLP+like+I",
    "/arithmetic?model=bert&text=Bob+cashed+a+check+at+the+bank&word=4&layer=0&head=0&d_k=256"
    "&depth=24",
    "/translate?model=translator&text=El+banco+est%C3%A1+cerrado.&model_b=recurrent&num_beams=2"
    "&length_penalty=1&layer=0&head=7&step=2",
    "/generate?model=gpt&text=The+capital+of+France+is&max_new_tokens=8&temperature=0.8&top_k=40"
    "&top_p=0.95&seed=1&step=2&layer=1",
    f"/fill?model=bert&text={CHILDREN}&words=5&layer=5&head=mean&seed=0",
]
