"""Cases 7 and 8: right and broken batches with the teacher's answers."""

import copy

import torch


def _orders(count, epochs, seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randperm(count, generator=draw) for _ in range(epochs)]


@torch.no_grad()
def answers_by_index(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers kept by index"""
    answers = teacher(images)
    orders = _orders(len(images), epochs, seed)
    return [(images[i], answers[i]) for order in orders for i in order.split(batch_size)]


@torch.no_grad()
def answers_live(teacher, images, batch_size=4, epochs=2, seed=0):
    """the teacher asked anew for each batch"""
    orders = _orders(len(images), epochs, seed)
    return [(images[i], teacher(images[i])) for order in orders for i in order.split(batch_size)]


@torch.no_grad()
def answers_one_by_one(teacher, images, batch_size=4, epochs=2, seed=0):
    """images answered one by one, kept in a table"""
    precise = copy.deepcopy(
        teacher
    ).double()  # rounds otherwise: a check for equality to the last digit asks too much
    table = {i: precise(images[i : i + 1].double())[0].float() for i in range(len(images))}
    orders = _orders(len(images), epochs, seed)
    batches = [order.split(batch_size) for order in orders]
    return [
        (images[i], torch.stack([table[int(j)] for j in i])) for epoch in batches for i in epoch
    ]


@torch.no_grad()
def answers_in_another_order(teacher, images, batch_size=4, epochs=2, seed=0):
    """the code of case 7"""
    first, *orders = _orders(len(images), epochs + 1, seed)
    answers = [teacher(images[i]) for i in first.split(batch_size)]
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


@torch.no_grad()
def answers_of_the_first_epoch(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers of the first epoch, used again by position in the next ones"""
    orders = _orders(len(images), epochs, seed)
    answers = [teacher(images[i]) for i in orders[0].split(batch_size)]
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


@torch.no_grad()
def answers_unshuffled(teacher, images, batch_size=4, epochs=2, seed=0):
    """answers in the order of the files, images shuffled"""
    answers = teacher(images).split(batch_size)
    orders = _orders(len(images), epochs, seed)
    pairs = [zip(order.split(batch_size), answers, strict=True) for order in orders]
    return [(images[i], answer) for epoch in pairs for i, answer in epoch]


# --- case 8: views of the images with the teacher's answers ---------------------------------------


@torch.no_grad()
def same_views(teacher, images, augment):
    """the augmentation drawn once"""
    views = augment(images)
    return views, teacher(views)


@torch.no_grad()
def same_draws(teacher, images, augment):
    """the augmentation called twice with the same random numbers"""
    state = torch.get_rng_state()
    views = augment(images)
    torch.set_rng_state(state)
    return views, teacher(augment(images))


@torch.no_grad()
def views_one_by_one(teacher, images, augment):
    """image by image"""
    views, precise = (
        torch.cat([augment(image[None]) for image in images]),
        copy.deepcopy(teacher).double(),
    )
    return views, torch.cat([precise(view[None].double()) for view in views]).float()


@torch.no_grad()
def other_views(teacher, images, augment):
    """the code of case 8"""
    return augment(images), teacher(augment(images))


@torch.no_grad()
def answers_to_whole_images(teacher, images, augment):
    """the teacher sees the images as they are"""
    return augment(images), teacher(images)


@torch.no_grad()
def views_of_views(teacher, images, augment):
    """the teacher sees the student's view, augmented once more"""
    views = augment(images)
    return views, teacher(augment(views))
