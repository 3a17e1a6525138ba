"""The network and the files of its weights. `cfnsr.model.network` has the class `CFNSR`."""
