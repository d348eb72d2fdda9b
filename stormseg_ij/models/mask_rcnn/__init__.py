"""Mask R-CNN in Keras 3, with the layers, names and numbers of Matterport's, so that its weights fit.

`config` holds the numbers, `backbone`, `pyramid`, `anchors`, `proposals`, `heads` and `detection` the network,
`targets`, `losses` and `training` how it learns, `weights` the files, and `predictor` what the pipeline sees.

References
----------
He, Gkioxari, Dollar & Girshick 2017, "Mask R-CNN"; Abdulla 2017, Mask R-CNN for object detection and instance
segmentation on Keras and TensorFlow (Matterport, MIT licence), whose layer names and file layout these are; Mela & Liu
2021, Methods, "Mask R-CNN".
"""
