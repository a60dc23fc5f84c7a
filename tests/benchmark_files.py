"""Names of the config files of the eleven data sets."""

FILES = dict(
    ImageNet='imagenet',
    Caltech101='caltech101',
    OxfordPets='oxford_pets',
    StanfordCars='stanford_cars',
    Flowers102='flowers102',
    Food101='food101',
    FGVCAircraft='fgvc_aircraft',
    SUN397='sun397',
    DTD='dtd',
    EuroSAT='eurosat',
    UCF101='ucf101',
)
