"""Cases 9 and 10: right and broken reports and test images."""

import numpy as np
import torch


def best_on_validation(val_accuracy, test_accuracy):
    """the first epoch that is best on validation"""
    epoch = int(np.argmax(val_accuracy))
    return epoch, float(test_accuracy[epoch])


def last_best_on_validation(val_accuracy, test_accuracy):
    """the last epoch that is best on validation"""
    epoch = max(range(len(val_accuracy)), key=lambda e: (val_accuracy[e], e))
    return epoch, float(test_accuracy[epoch])


def last_epoch(val_accuracy, test_accuracy):
    """the last epoch"""
    return len(test_accuracy) - 1, float(test_accuracy[-1])


def best_on_test(val_accuracy, test_accuracy):
    """the code of case 9"""
    best_epoch, best = 0, 0.0
    for epoch, value in enumerate(test_accuracy):
        if value > best:
            best_epoch, best = epoch, value
    return best_epoch, float(best)


def last_best_on_test(val_accuracy, test_accuracy):
    """the last epoch that is best on test"""
    epoch = max(range(len(test_accuracy)), key=lambda e: (test_accuracy[e], e))
    return epoch, float(test_accuracy[epoch])


def best_test_figure(val_accuracy, test_accuracy):
    """the epoch that is best on validation, with the best figure on test"""
    return int(np.argmax(val_accuracy)), float(max(test_accuracy))


# --- case 10: training and test images as the network gets them -----------------------------------


def _flipped(images):
    return torch.where((torch.rand(len(images)) < 0.5)[:, None, None, None], images.flip(3), images)


def train_flipped_alone(train_images, test_images, mean, std):
    """training images flipped, test images not"""
    return (_flipped(train_images) - mean) / std, (test_images - mean) / std


def normalised_first(train_images, test_images, mean, std):
    """normalised first, then training images flipped"""
    train, test = ((images - mean) * (1 / std) for images in (train_images, test_images))
    return _flipped(train), test


def flipped_one_by_one(train_images, test_images, mean, std):
    """image by image"""
    flipped = [image.flip(2) if torch.rand(()) < 0.5 else image for image in train_images]
    return torch.stack([(image - mean[0]) / std[0] for image in flipped]), (
        test_images - mean
    ) / std


def test_flipped(train_images, test_images, mean, std):
    """the code of case 10"""
    return (_flipped(train_images) - mean) / std, (_flipped(test_images) - mean) / std


def test_turned(train_images, test_images, mean, std):
    """both mirrored top to bottom at random"""
    both = (
        _flipped(images.transpose(2, 3)).transpose(2, 3) for images in (train_images, test_images)
    )
    return tuple((images - mean) / std for images in both)


def test_brightened(train_images, test_images, mean, std):
    """both with a random brightness"""
    both = (
        images * (0.9 + 0.2 * torch.rand(len(images), 1, 1, 1))
        for images in (train_images, test_images)
    )
    return tuple((images - mean) / std for images in both)
