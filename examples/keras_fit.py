import keras
from keras.layers import BatchNormalization, Concatenate, Conv2D, Reshape

import mkd_tf

data = mkd_tf.DATASETS.build("voc_folder(path='images')")
train, classes = data.split("train"), len(data.class_names)
anchors, steps = mkd_tf.grid_anchors(128), max(1, len(train) // 8)  # a square per cell, strides 8, 16, 32
batches = mkd_tf.batches_of(train, anchors, classes, batch_size=8, steps=30 * steps)


def detector(width):
    maps = [keras.Input((128, 128, 3))]
    for factor in (1, 2, 4, 8, 8):
        maps.append(BatchNormalization()(Conv2D(width * factor, 3, 2, "same", activation="relu")(maps[-1])))
    prior = keras.initializers.Constant(-4.6)  # every class starts at a probability of 0.01
    logits = [Reshape((-1, classes))(Conv2D(classes, 1, bias_initializer=prior)(m)) for m in maps[3:]]
    boxes = Concatenate(1)([Reshape((-1, 4))(Conv2D(4, 1)(m)) for m in maps[3:]])
    model = keras.Model(maps[0], {"class_logits": Concatenate(1)(logits), "box_encodings": boxes})
    taps = {"C3": maps[3], "C4": maps[4], "C5": maps[5]}  # or names of layers
    return mkd_tf.adapt(model, taps=taps, anchors=anchors, class_names=data.class_names, scale=1 / 255)


teacher, student = detector(32), detector(8)
taught = [mkd_tf.SoftClasses(), mkd_tf.SoftBoxes(weight=2.0), mkd_tf.AttentionMap(weight=0.1)]
for distiller in (mkd_tf.Distiller(teacher), mkd_tf.Distiller(student, teacher, strategies=taught)):
    log = keras.callbacks.CSVLogger("student.csv" if distiller.teacher else "teacher.csv")
    distiller.compile(optimizer=keras.optimizers.AdamW(2e-3, global_clipnorm=10.0))
    distiller.fit(batches, epochs=30, steps_per_epoch=steps, shuffle=False, callbacks=[log])
student.save("student.keras")
