// For app/build.gradle.kts. Versions are examples that were not built here: take current ones.

android {
    androidResources {
        // The libraries map the model into memory, which a compressed asset does not allow.
        noCompress += "tflite"
    }
}

dependencies {
    // MediaPipeDetector.kt
    implementation("com.google.mediapipe:tasks-vision:0.10.29")

    // TaskLibraryDetector.kt; the second line is for useGpu() alone.
    implementation("org.tensorflow:tensorflow-lite-task-vision:0.4.4")
    implementation("org.tensorflow:tensorflow-lite-gpu-delegate-plugin:0.4.4")

    // LiteRtDetector.kt; the second line is for Accelerator.GPU alone.
    implementation("com.google.ai.edge.litert:litert:2.3.0")
    implementation("com.google.ai.edge.litert:litert-gpu:2.3.0")

    // CameraAnalyzer.kt
    val camerax = "1.3.4"
    implementation("androidx.camera:camera-core:$camerax")
    implementation("androidx.camera:camera-camera2:$camerax")
    implementation("androidx.camera:camera-lifecycle:$camerax")
    implementation("androidx.camera:camera-view:$camerax")
}
