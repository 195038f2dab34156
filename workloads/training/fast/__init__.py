"""Faster training steps that learn the same: levels, each a drop-in for the one before.

=======  ============================================================================================  ================
level    what it puts on a model                                                                       modules
=======  ============================================================================================  ================
plain    nothing: LLaMA-Factory as it is
flat     one row without padding for a whole batch; attention that knows where documents begin, and    batches,
         no mask; the head and the loss on those tokens only from which something is learnt            attention, head
lora     each LoRA linear as one autograd node that keeps its input once                               lora_linear
layer    each decoder layer as one autograd node with kernels of its own                               layer, kernels
=======  ============================================================================================  ================

How they meet: the collator (:mod:`batches`) makes a :class:`attention.Documents` for a batch, on the CPU, and the
trainer moves it to the device with the batch. It comes to every decoder layer, and to every attention function, as the
keyword ``documents``. Where there is none (evaluation, generation) a layer does what it did before.

:func:`install.install` puts a level on a model, or the next lower one that the model allows, and says why.
"""
