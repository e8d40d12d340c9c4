"""The data sets by name: what each one is, where its files lie, and how they are opened."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kdcourse.common.errors import DataError, unknown
from kdcourse.common.paths import data_root, work_dir
from kdcourse.data import formats, images
from kdcourse.data.archives import unpacked
from kdcourse.data.eurosat import BANDS, CLASSES
from kdcourse.data.store import TEST, TRAIN, Source

SCENES = 4000  # tiles of `scenes`, unless limit says otherwise
MINI_IMAGENET = 84  # pixels a side, as in the few-shot release


@dataclass(frozen=True)
class Request:
    """What `load` was asked for, as far as finding the files goes."""

    root: str | os.PathLike | None = None
    image_size: int | None = None
    limit: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class DatasetInfo:
    """A data set by name: what it is, where its files lie, how they are opened."""

    name: str
    title: str
    about: str
    classes: tuple[str, ...] | None  # None: the files say
    source: str
    licence: str
    layout: str  # how to lay the files by hand, under the data root
    augmentation: str  # a name in batches.AUGMENTATIONS
    image_size: int | None  # pixels a side; None: as the files are
    channels: tuple[str, ...]
    official_test: bool
    open: Callable[["DatasetInfo", Request], Source]
    # Where the files may lie under the data root; the first folder that exists counts.
    folders: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()  # the folder must hold one of these
    archives: tuple[str, ...] = ()  # unpacked as the first of `folders` if none is there

    def find(self, root: Path) -> Path | None:
        """The folder with the files under `root`, or None. An archive is unpacked if there is no
        folder yet.
        """
        for folder in (root / name for name in self.folders):
            if os.path.isdir(folder) and (
                not self.holds or any(os.path.exists(folder / name) for name in self.holds)
            ):
                return folder
        for archive in (root / name for name in self.archives):
            if os.path.isfile(archive):
                return unpacked(archive, root / self.folders[0])
        return None

    def by_hand(self, root: Path) -> str:
        """What to do where there is no network."""
        return (
            f"To lay it by hand: under {root}, {self.layout} (from {self.source}). Or go on "
            "without it: the embedded data set needs no download, --dataset scenes, load('scenes')."
        )

    def found(self, root: str | os.PathLike | None) -> Path:
        """As `find`, but raises DataError that says what to do."""
        place = data_root(root)
        if (folder := self.find(place)) is None:
            raise DataError(
                f"{self.name} ({self.title}) is not under {place}. Fetch it: `kdcourse data get "
                f"{self.name}`. {self.by_hand(place)} KDCOURSE_DATA or root= names another data "
                "root."
            )
        return folder


def dataset_info(name: str | os.PathLike) -> DatasetInfo:
    """The entry of a name, or one made for a folder of images by its path.

    Raises UsageError for a name that is neither, DataError for a path that leads to no folder.
    """
    if str(name) in CATALOG:
        return CATALOG[str(name)]
    path = Path(os.path.expanduser(name))
    if not str(name) or not os.path.isdir(path):
        if os.path.isfile(path) or os.sep in str(name) or isinstance(name, os.PathLike):
            what = "a file" if os.path.isfile(path) else "no such folder"
            raise DataError(
                f"{path}: {what}. Expected a folder of images, or one of {', '.join(CATALOG)}."
            )
        raise unknown("data set", name, [*CATALOG, "a path to a folder of images"])
    path = path.resolve()
    return replace(
        FOLDER,
        name=path.name,
        open=lambda _, request: images.image_folder(path, request.image_size),
    )


def _class_folders(folder: Path) -> Path:
    """Archives nest EuroSAT's class folders (2750/…, ds/images/…/tif/…): down to where they are."""
    while len(names := images.class_folders(folder)) == 1 and names[0] not in CLASSES:
        folder = folder / names[0]
    return folder


def _eurosat(
    info: DatasetInfo, request: Request, reader: Callable, suffixes: frozenset[str]
) -> Source:
    folder = _class_folders(info.found(request.root))
    rows, others = images.labelled(folder, CLASSES, suffixes=suffixes)
    strange = sorted(set(images.class_folders(folder)) - set(CLASSES))
    notes = (
        [f"{folder}: not EuroSAT's classes, passed over: {', '.join(strange)}"] if strange else []
    )
    return reader(info.name, folder, rows, CLASSES, others=others, notes=notes)


def _scenes(info: DatasetInfo, request: Request) -> Source:
    """The first tiles of each class, painted if they are not there yet."""
    count = request.limit or SCENES
    a_class = -(-count // len(CLASSES))
    given = data_root(request.root) / "scenes" if request.root else None
    folder = given if given and given.is_dir() else work_dir() / "scenes"
    wanted = [
        (name, folder / name / f"{name}_{n}.tif") for name in CLASSES for n in range(1, a_class + 1)
    ]
    present = {name for name, _ in images.scan(folder)[0]} if folder.is_dir() else set()
    if folder != given or any(f"{name}/{path.name}" not in present for name, path in wanted):
        from kdcourse.data.scenes import make_scenes

        make_scenes(folder, a_class * len(CLASSES), progress=request.progress)
    rows, _ = images.labelled(folder, CLASSES, suffixes=images.TIFF)
    names = {str(path) for _, path in wanted}
    return images.tiles_of(info.name, folder, [row for row in rows if row[0] in names], CLASSES)


def _mnist(info: DatasetInfo, request: Request) -> Source:
    return formats.mnist(info.name, info.found(request.root), info.classes)


def _usps(info: DatasetInfo, request: Request) -> Source:
    return formats.usps(info.name, info.found(request.root), info.classes)


def _digits(info: DatasetInfo, request: Request) -> Source:
    return formats.digits(info.name)


def _cifar10(info: DatasetInfo, request: Request) -> Source:
    """The pickled batches, or train and test as folders of images."""
    folder = info.found(request.root)
    if (folder / "data_batch_1").is_file():
        batches = [f"data_batch_{i}" for i in range(1, 6)]
        return formats.cifar(
            info.name, folder, batches, "test_batch", "batches.meta", "labels", "label_names"
        )
    rows, others = [], 0
    for part, code in (("train", TRAIN), ("test", TEST)):
        found, more = images.labelled(folder / part, info.classes, code)
        rows, others = rows + found, others + more
    return images.images_of(info.name, folder, rows, info.classes, (32, 32), others=others)


def _cifar100(info: DatasetInfo, request: Request) -> Source:
    folder = info.found(request.root)
    return formats.cifar(
        info.name, folder, ["train"], "test", "meta", "fine_labels", "fine_label_names"
    )


def _tiny_imagenet(info: DatasetInfo, request: Request) -> Source:
    return formats.tiny_imagenet(info.name, info.found(request.root))


def _mini_imagenet(info: DatasetInfo, request: Request) -> Source:
    folder = info.found(request.root)
    rows, classes, others, notes = images.labelled_folder(folder)
    size = request.image_size or info.image_size
    return images.images_of(
        info.name, folder, rows, classes, None, size, others=others, notes=notes
    )


DIGITS = tuple("0123456789")
_EUROSAT_LICENCE = "MIT; Copernicus Sentinel data"

CATALOG: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="scenes",
            title="Scenes",
            about=(
                "synthetic Sentinel-2 tiles of EuroSAT's ten classes, painted on demand: the "
                "embedded default"
            ),
            classes=CLASSES,
            source="kdcourse.data.scenes",
            licence="MIT",
            layout=(
                "They are painted when they are loaded; `kdcourse data make scenes` paints them "
                "beforehand."
            ),
            augmentation="satellite",
            image_size=64,
            channels=tuple(band.name for band in BANDS),
            official_test=False,
            open=_scenes,
        ),
        DatasetInfo(
            name="eurosat_ms",
            title="EuroSAT, multispectral",
            about=(
                "27,000 Sentinel-2 tiles of land use and cover, 13 bands, as GeoTIFFs (Helber et "
                "al. 2019)"
            ),
            classes=CLASSES,
            source="https://zenodo.org/records/7711810 (EuroSAT_MS.zip)",
            licence=_EUROSAT_LICENCE,
            layout=(
                "EuroSAT_MS/<Class>/<Class>_N.tif, or the archive EuroSAT_MS.zip or "
                "EuroSATallBands.zip as it is"
            ),
            augmentation="satellite",
            image_size=64,
            channels=tuple(band.name for band in BANDS),
            official_test=False,
            open=partial(_eurosat, reader=images.tiles_of, suffixes=images.TIFF),
            folders=(
                "EuroSAT_MS",
                "EuroSATallBands",
                "ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
            ),
            archives=("EuroSAT_MS.zip", "EuroSATallBands.zip"),
        ),
        DatasetInfo(
            name="eurosat_rgb",
            title="EuroSAT, true colour",
            about="the 27,000 tiles of EuroSAT in true colour, as JPEG (Helber et al. 2019)",
            classes=CLASSES,
            source="https://zenodo.org/records/7711810 (EuroSAT_RGB.zip)",
            licence=_EUROSAT_LICENCE,
            layout=(
                "EuroSAT_RGB/<Class>/<Class>_N.jpg, or the archive EuroSAT_RGB.zip or EuroSAT.zip "
                "as it is"
            ),
            augmentation="satellite",
            image_size=64,
            channels=images.COLOUR,
            official_test=False,
            open=partial(
                _eurosat, reader=partial(images.images_of, size=(64, 64)), suffixes=images.SUFFIXES
            ),
            folders=("EuroSAT_RGB", "EuroSAT", "eurosat", "2750"),
            archives=("EuroSAT_RGB.zip", "EuroSAT.zip"),
        ),
        DatasetInfo(
            name="mnist",
            title="MNIST",
            about="70,000 handwritten digits, 28×28 grey (LeCun et al. 1998)",
            classes=DIGITS,
            source="http://yann.lecun.com/exdb/mnist/",
            licence="CC BY-SA 3.0",
            layout="MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte, packed (.gz) or not",
            augmentation="digits",
            image_size=28,
            channels=images.GREY,
            official_test=True,
            open=_mnist,
            folders=("MNIST/raw", "MNIST", "mnist"),
            holds=("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        ),
        DatasetInfo(
            name="fashion_mnist",
            title="FashionMNIST",
            about="70,000 pictures of clothes, 28×28 grey (Xiao et al. 2017)",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            source="https://github.com/zalandoresearch/fashion-mnist",
            licence="MIT",
            layout=(
                "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte, packed (.gz) or not"
            ),
            augmentation="natural",
            image_size=28,
            channels=images.GREY,
            official_test=True,
            open=_mnist,
            folders=("FashionMNIST/raw", "FashionMNIST", "fashion_mnist"),
            holds=("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        ),
        DatasetInfo(
            name="usps",
            title="USPS",
            about="9,298 handwritten digits from envelopes, 16×16 grey (Hull 1994)",
            classes=DIGITS,
            source="https://hastie.su.domains/ElemStatLearn/data.html (zip.train.gz, zip.test.gz)",
            licence="free for research",
            layout=(
                "usps/zip.train.gz and usps/zip.test.gz, or torchvision's usps/usps.bz2 and "
                "usps/usps.t.bz2"
            ),
            augmentation="digits",
            image_size=16,
            channels=images.GREY,
            official_test=True,
            open=_usps,
            folders=("usps", "USPS", "."),
            holds=("zip.train.gz", "zip.train", "usps.bz2"),
        ),
        DatasetInfo(
            name="cifar10",
            title="CIFAR-10",
            about="60,000 pictures of ten things, 32×32 colour (Krizhevsky 2009)",
            classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
            licence="free for research",
            layout="cifar-10-batches-py/data_batch_1 … (or cifar-10-python.tar.gz as it is), or "
            "cifar10/{train,test}/<class>/<image>",
            augmentation="natural",
            image_size=32,
            channels=images.COLOUR,
            official_test=True,
            open=_cifar10,
            folders=("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar10"),
            archives=("cifar-10-python.tar.gz",),
        ),
        DatasetInfo(
            name="cifar100",
            title="CIFAR-100",
            about="60,000 pictures of a hundred things, 32×32 colour (Krizhevsky 2009)",
            classes=None,
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
            licence="free for research",
            layout="cifar-100-python/{train,test,meta}, or cifar-100-python.tar.gz as it is",
            augmentation="natural",
            image_size=32,
            channels=images.COLOUR,
            official_test=True,
            open=_cifar100,
            folders=("cifar-100-python",),
            archives=("cifar-100-python.tar.gz",),
        ),
        DatasetInfo(
            name="tiny_imagenet",
            title="Tiny ImageNet",
            about=(
                "200 classes of ImageNet at 64×64, 500 + 50 pictures each; or a part of them (Le & "
                "Yang 2015)"
            ),
            classes=None,
            source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            licence="ImageNet's terms: research and teaching",
            layout=(
                "tiny-imagenet-200/{train,val,words.txt} (or tiny-imagenet-20, or "
                "tiny-imagenet-200.zip as it is)"
            ),
            augmentation="natural",
            image_size=64,
            channels=images.COLOUR,
            official_test=True,
            open=_tiny_imagenet,
            folders=("tiny-imagenet-200", "tiny-imagenet-20"),
            archives=("tiny-imagenet-200.zip",),
        ),
        DatasetInfo(
            name="mini_imagenet",
            title="mini-ImageNet",
            about="100 classes of ImageNet, 600 pictures each (Vinyals et al. 2016)",
            classes=None,
            source="ImageNet; the choice of classes and pictures is Ravi & Larochelle's (2017)",
            licence="ImageNet's terms: research and teaching",
            layout="mini_imagenet/{train,val,test}/<class>/<image>",
            augmentation="natural",
            image_size=MINI_IMAGENET,
            channels=images.COLOUR,
            official_test=False,
            open=_mini_imagenet,
            folders=("mini_imagenet", "mini-imagenet", "miniImageNet"),
        ),
        DatasetInfo(
            name="digits",
            title="Digits",
            about="1,797 handwritten digits, 8×8 grey, 17 levels; part of scikit-learn",
            classes=DIGITS,
            source="sklearn.datasets.load_digits",
            licence="CC BY 4.0",
            layout="It comes with scikit-learn.",
            augmentation="digits",
            image_size=8,
            channels=images.GREY,
            official_test=False,
            open=_digits,
        ),
    )
}

FOLDER = DatasetInfo(
    name="",
    title="a folder of images",
    about="images of your own",
    classes=None,
    source="",
    licence="",
    layout="<folder>/<class>/<image>, or <folder>/{train,val,test}/<class>/<image>",
    augmentation="natural",
    image_size=None,
    channels=(),
    official_test=False,
    open=_digits,
)
