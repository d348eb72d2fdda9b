import groovy.transform.CompileStatic

import ij.plugin.ContrastEnhancer
import ij.plugin.filter.GaussianBlur
import ij.process.ByteProcessor
import ij.process.FloatProcessor
import ij.process.ImageProcessor
import ij.process.ShortProcessor

import java.awt.image.ColorModel
import java.lang.reflect.Method
import java.nio.ByteBuffer
import java.nio.ByteOrder

import org.apposed.appose.NDArray

/** ImageJ's commands that the preprocessing needs. The same bytes as those of stormseg_ij/bridge/imagej.py. */
@CompileStatic
class Processing {

    /**
     * Does ImageJ's commands on pixels, one after the other.
     *
     * @param with pixels: NDArray of uint8, uint16 or float32, shape (Y, X), closed here; steps: lists of "resize",
     *        width, height; "blur", sigma in pixels; "to_16bit", null or [lowest, highest]; "equalize"
     * @return NDArray, to be closed by the caller
     */
    Object process(Map with) {
        ImageProcessor processor = taken((NDArray) with.get("pixels"))
        for (List step : (List<List>) with.get("steps")) {
            processor = done(processor, step)
        }
        return given(processor, processor.getHeight(), processor.getWidth())
    }

    /**
     * Tells the new value of every old one with which "equalize" would replace the pixels.
     *
     * @param with histogram: NDArray of int32, shape (256) or (65536): number of pixels of every value, closed here
     * @return NDArray of uint8 or uint16, shape as the histogram, to be closed by the caller
     */
    Object equalization(Map with) {
        NDArray histogram = (NDArray) with.get("histogram")
        int[] counts = new int[(int) histogram.shape().numElements()]
        try {
            bytes(histogram).asIntBuffer().get(counts)
        } finally {
            histogram.close()
        }
        ImageProcessor values
        if (counts.length == 256) {
            values = new ByteProcessor(counts.length, 1)
        } else {
            values = new ShortProcessor(counts.length, 1)
        }
        for (int i = 0; i < counts.length; i++) {
            values.set(i, i)
        }
        // Its public methods count the pixels of what they are given; this one is what they call after that.
        Method equalize = ContrastEnhancer.getDeclaredMethod("equalize", ImageProcessor, int[])
        equalize.setAccessible(true)
        equalize.invoke(new ContrastEnhancer(), values, counts)
        return given(values, counts.length)
    }

    /** Does one command; gives the processor that now has the pixels. */
    private static ImageProcessor done(ImageProcessor processor, List step) {
        switch (step.get(0).toString()) {
            case "resize":
                // Image > Adjust > Size: bilinear, averaging when it gets smaller.
                int width = number(step.get(1)).intValue(), height = number(step.get(2)).intValue()
                size(width, height, 1)
                processor.setInterpolationMethod(ImageProcessor.BILINEAR)
                return processor.resize(width, height, true)
            case "blur":
                // Process > Filters > Gaussian Blur
                new GaussianBlur().blurGaussian(processor, number(step.get(1)).doubleValue())
                return processor
            case "to_16bit":
                // Image > Type > 16-bit with "Scale when converting", from the lowest to the highest value, or limits.
                List limits = step.size() > 1 ? (List) step.get(1) : null
                if (limits == null) {
                    processor.resetMinAndMax()
                } else {
                    processor.setMinAndMax(number(limits.get(0)).doubleValue(), number(limits.get(1)).doubleValue())
                }
                return processor.convertToShort(true)
            case "equalize":
                // Process > Enhance Contrast with "Normalize" and "Equalize histogram".
                if (!(processor.getBitDepth() in [8, 16])) {
                    throw new IllegalStateException("ImageJ cannot equalize a " + processor.getBitDepth() +
                        "-bit image; convert it to 8-bit or 16-bit")
                }
                new ContrastEnhancer().equalize(processor)
                processor.setMinAndMax(0.0d, processor.maxValue())
                return processor
            default:
                throw new IllegalStateException("ImageJ has no step " + step.get(0))
        }
    }

    private static Number number(Object value) {
        return (Number) value
    }

    // ---- pixels into ImageJ and back

    /** Copies pixels of shape (Y, X) into ImageJ, and closes this side of them. */
    static ImageProcessor taken(NDArray array) {
        try {
            int[] shape = array.shape().toIntArray(NDArray.Shape.Order.C_ORDER)
            int height = shape[0], width = shape[1]
            int count = size(width, height, array.dType().bytesPerElement())
            ByteBuffer buffer = bytes(array)
            switch (array.dType()) {
                case NDArray.DType.UINT8:
                    byte[] eight = new byte[count]
                    buffer.get(eight)
                    return new ByteProcessor(width, height, eight, (ColorModel) null)
                case NDArray.DType.UINT16:
                    short[] sixteen = new short[count]
                    buffer.asShortBuffer().get(sixteen)
                    return new ShortProcessor(width, height, sixteen, (ColorModel) null)
                case NDArray.DType.FLOAT32:
                    float[] floats = new float[count]
                    buffer.asFloatBuffer().get(floats)
                    return new FloatProcessor(width, height, floats, (ColorModel) null)
                default:
                    throw new IllegalStateException("ImageJ cannot hold " + array.dType().label() +
                        " pixels; give uint8, uint16 or float32")
            }
        } finally {
            array.close()
        }
    }

    /** Copies pixels out of ImageJ: 8-bit, 16-bit, 32-bit or packed RGB. */
    static NDArray given(ImageProcessor processor, int... shape) {
        Object pixels = processor.getPixels()
        NDArray.DType type = pixels instanceof byte[] ? NDArray.DType.UINT8
            : pixels instanceof short[] ? NDArray.DType.UINT16
            : pixels instanceof float[] ? NDArray.DType.FLOAT32 : NDArray.DType.UINT32
        size(processor.getWidth(), processor.getHeight(), type.bytesPerElement())
        NDArray made = new NDArray(type, new NDArray.Shape(NDArray.Shape.Order.C_ORDER, shape))
        try {
            ByteBuffer buffer = bytes(made)
            if (pixels instanceof byte[]) {
                buffer.put((byte[]) pixels)
            } else if (pixels instanceof short[]) {
                buffer.asShortBuffer().put((short[]) pixels)
            } else if (pixels instanceof float[]) {
                buffer.asFloatBuffer().put((float[]) pixels)
            } else {
                buffer.asIntBuffer().put((int[]) pixels)
            }
            return made
        } catch (RuntimeException | Error failed) {
            made.close()  // nobody else knows of it yet
            throw failed
        }
    }

    /** Number of pixels in a plane, whose bytes Java must be able to count: its buffers hold less than 2 GB. */
    private static int size(int width, int height, int bytesPerPixel) {
        try {
            return Math.multiplyExact(Math.multiplyExact(width, height), bytesPerPixel).intdiv(bytesPerPixel)
        } catch (ArithmeticException tooMany) {
            throw new IllegalStateException("a plane of " + width + " x " + height + " pixels is too large: Fiji and " +
                "Python can exchange 2 GB at once; crop the image, or make it smaller")
        }
    }

    /** The bytes of an array, in this computer's order as in Python. */
    private static ByteBuffer bytes(NDArray array) {
        return array.buffer().order(ByteOrder.nativeOrder())
    }
}
