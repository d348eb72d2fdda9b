import groovy.transform.CompileStatic

import ij.IJ
import ij.ImagePlus
import ij.ImageStack
import ij.Macro
import ij.WindowManager
import ij.gui.ImageCanvas
import ij.gui.Line
import ij.gui.Overlay
import ij.gui.Roi
import ij.io.FileInfo
import ij.macro.Interpreter
import ij.measure.Calibration
import ij.process.FloatPolygon
import ij.process.ImageProcessor
import ij.text.TextWindow

import java.awt.Dimension
import java.awt.GraphicsEnvironment
import java.awt.Rectangle
import java.awt.image.IndexColorModel
import java.nio.ByteBuffer
import java.util.concurrent.CancellationException

import org.apposed.appose.NDArray

/** ImageJ's images, windows and messages, as Python asks for them. As stormseg_ij/bridge/desktop.py. */
@CompileStatic
class Desk {

    private static final String TAG = "stormseg"  // property of the ROIs that we put into an overlay
    private static final List<String> AREAS =
        ["Rectangle", "Oval", "Polygon", "Freehand", "Traced", "Composite", "Ellipse"]
    private static final List<String> LINES = ["Straight Line", "Polyline", "Freeline"]
    private static final Map<String, String> DOING = [
        image: "give the image", show_image: "take the image", show_stack: "show the labels",
        put_overlay: "draw into the image", append: "take a ROI", entries: "read the ROI Manager",
        measure: "measure", add_rows: "fill a table", process: "change the image", equalization: "equalize the image",
        "": "read what Python sent: a number that is none, or an array that is gone",
    ]

    /** The image that a script works on if it is its own, in no window. */
    ImagePlus given

    final Rois rois = new Rois()
    private final Tables tables = new Tables(this, rois)
    private final Processing processing = new Processing()

    /**
     * Does what Python asks for.
     *
     * @param method by its name in the contract of both sides
     * @param with values by name; arrays among them are closed here
     * @param stopped asked by what takes long; true ends it
     * @return what JSON can hold, and arrays, which the caller closes
     */
    Object answer(String method, Map with, Closure<Boolean> stopped) {
        switch (method) {
            case "facts": return facts(number(with.get("image")))
            case "is_open": return WindowManager.getImage(number(with.get("image"))) != null
            case "titled": return titled(with.get("title").toString())
            case "titles": return (WindowManager.getImageTitles() as List<String>)
            case "image": return image(with)
            case "show_image": return showImage(with)
            case "show_stack": return showStack(with)
            case "selection": return selection(asked(with))
            case "line": return line(asked(with))
            case "clear_selection": asked(with).deleteRoi(); return null
            case "put_overlay": return putOverlay(with)
            case "overlay": return overlay(asked(with), with.get("tag").toString())
            case "canvas": return canvas(asked(with))
            case "show_plane": asked(with).setSlice(number(with.get("plane"))); return null
            case "look_at": return lookAt(with)
            case "entries": return rois.entries()
            case "selected": return rois.selected()
            case "append": return rois.append((List<String>) with.get("rois"), maybe(with))
            case "replace": return rois.replace(identity(with.get("identity")), with.get("roi").toString())
            case "delete": rois.delete(identities(with), maybe(with)); return null
            case "select": rois.select(asked(with), number(with.get("index"))); return null
            case "deselect": rois.deselect(); return null
            case "measure": return tables.measure(with, stopped)
            case "add_rows": return tables.addRows(with)
            case "process": return processing.process(with)
            case "equalization": return processing.equalization(with)
            default: return tell(method, with)
        }
    }

    /** What went wrong, in one line. */
    static String fault(String method, Throwable failed) {
        if (failed instanceof CancellationException) {
            return "stopped by Escape"
        }
        if (failed instanceof IllegalStateException && failed.getMessage()) {
            return failed.getMessage()  // ours, in whole sentences
        }
        String doing = "ImageJ could not " + (DOING.get(method) ?: method.replace("_", " "))
        if (failed instanceof OutOfMemoryError) {
            return doing + ": Java's memory is too small; give Fiji more under Edit > Options > Memory & Threads"
        }
        String text = (failed.getMessage() ?: "").trim()
        return doing + ": " + (text ? text.readLines().get(0) : failed.getClass().getSimpleName())
    }

    /** The image with this number of ImageJ's, open or given; null where there is none. */
    private ImagePlus found(int number) {
        return given != null && given.getID() == number ? given : WindowManager.getImage(number)
    }

    /** The image with this number of ImageJ's. */
    ImagePlus imageOf(int number) {
        ImagePlus found = found(number)
        if (found == null) {
            throw new IllegalStateException("the image was closed; open it again")
        }
        return found
    }

    // ---- images

    private Map facts(int number) {
        ImagePlus imp = found(number)
        if (imp == null) {
            return null
        }
        FileInfo info = imp.getOriginalFileInfo()
        return [
            title: imp.getTitle(), folder: info == null ? null : info.directory ?: null,
            file_name: info == null ? null : info.fileName ?: null, height: imp.getHeight(), width: imp.getWidth(),
            channels: imp.getNChannels(), slices: imp.getNSlices(), frames: imp.getNFrames(), channel: imp.getC(),
            z: imp.getZ(), t: imp.getT(), current: imp.getCurrentSlice(), is_hyperstack: imp.isHyperStack(),
        ]
    }

    private static Integer titled(String title) {
        ImagePlus found = WindowManager.getImage(title)
        return found == null ? null : found.getID()
    }

    /** A plane's values as they are, whatever the lookup table; "8-bit Color" as RGB, and that packed. */
    private Map image(Map with) {
        ImagePlus imp = asked(with)
        Object plane = with.get("plane")
        int count = imp.getStackSize()
        if (plane != null && (number(plane) < 1 || number(plane) > count)) {
            throw new IllegalStateException(imp.getTitle() + " has no plane " + plane + "; give 1 to " + count)
        }
        ImageProcessor processor = plane == null ? imp.getProcessor() : imp.getStack().getProcessor(number(plane))
        if (processor == null) {
            throw new IllegalStateException("the image has no pixels: it was closed; open it again")
        }
        if (imp.getType() == ImagePlus.COLOR_256) {
            processor = processor.convertToRGB()
        }
        Calibration scale = imp.getCalibration()
        return [
            pixels: Processing.given(processor, processor.getHeight(), processor.getWidth()),
            depth: processor.getBitDepth(),
            calibration: scale.scaled() ? [scale.pixelWidth, scale.pixelHeight, scale.getUnit()] : null,
        ]
    }

    private static Integer showImage(Map with) {
        ImagePlus imp = new ImagePlus(with.get("name").toString(), Processing.taken((NDArray) with.get("pixels")))
        List stated = (List) with.get("calibration")
        if (stated != null) {
            Calibration scale = new Calibration(imp)
            scale.pixelWidth = ((Number) stated.get(0)).doubleValue()
            scale.pixelHeight = ((Number) stated.get(1)).doubleValue()
            scale.setUnit(stated.get(2).toString())
            imp.setCalibration(scale)
        }
        imp.show()
        return imp.getID()
    }

    /** Shows planes with the calibration of another image, in colours from 0 to the highest value. */
    private Integer showStack(Map with) {
        ImagePlus like = imageOf(number(with.get("like")))
        ImageStack stack = new ImageStack(like.getWidth(), like.getHeight())
        List planes = (List) with.get("planes")
        for (Object plane : planes) {
            stack.addSlice(Processing.taken((NDArray) plane))
        }
        ImagePlus imp = new ImagePlus(with.get("title").toString(), stack)
        if (planes.size() > 1) {
            imp.setDimensions(1, like.getNSlices(), like.getNFrames())
            imp.setOpenAsHyperStack(like.isHyperStack())
        }
        imp.setCalibration(like.getCalibration().copy())
        byte[][] channels = new byte[3][256]
        ByteBuffer colours = ((NDArray) with.get("colours")).buffer()
        channels.each { byte[] channel -> colours.get(channel) }
        imp.getProcessor().setColorModel(new IndexColorModel(8, 256, channels[0], channels[1], channels[2]))
        imp.getStack().setColorModel(imp.getProcessor().getColorModel())  // without colours it looks black
        imp.setDisplayRange(0.0d, ((Number) with.get("highest")).doubleValue())
        imp.show()
        return imp.getID()
    }

    // ---- selections and overlays

    private static Map selection(ImagePlus imp) {
        Roi roi = imp.getRoi()
        if (roi == null) {
            return null
        }
        String kind = roi.getTypeAsString()
        String group = roi.isArea() || kind in AREAS ? "area" : kind in LINES ? "line" : "other"
        return [group: group, roi: Rois.encoded(roi)]
    }

    /** The corners of the line drawn in the image: all x, all y. */
    private static List<List<Double>> line(ImagePlus imp) {
        Roi roi = imp.getRoi()
        if (roi == null || !roi.isLine()) {
            return null
        }
        FloatPolygon points = roi instanceof Line ? ((Line) roi).getFloatPoints() : roi.getFloatPolygon()
        return [corners(points.xpoints, points.npoints), corners(points.ypoints, points.npoints)]
    }

    private static List<Double> corners(float[] places, int count) {
        List<Double> found = new ArrayList<Double>()
        for (int i = 0; i < count; i++) {
            found.add((double) places[i])
        }
        return found
    }

    /** Puts ROIs into the image's overlay, in place of those put there before under this tag. */
    private Object putOverlay(Map with) {
        ImagePlus imp = asked(with)
        String tag = with.get("tag").toString()
        List<Integer> origin = ((List) (with.get("origin") ?: [0, 0])).collect { Object place -> number(place) }
        Overlay before = imp.getOverlay()
        Overlay overlay = before != null ? before : new Overlay()
        List<Roi> made = ((List<String>) with.get("rois")).collect { String roi -> Rois.decoded(roi) }
        boolean touched = !made.isEmpty()
        for (int i = overlay.size() - 1; i >= 0; i--) {
            if (overlay.get(i).getProperty(TAG) == tag) {
                overlay.remove(i)
                touched = true
            }
        }
        if (!touched) {
            return null
        }
        for (Roi roi : made) {
            roi.setProperty(TAG, tag)
            if (origin.get(0) != 0 || origin.get(1) != 0) {
                roi.translate((double) origin.get(0), (double) origin.get(1))
            }
            overlay.add(roi)
        }
        boolean hidden = before != null && imp.getHideOverlay()
        imp.setOverlay(overlay.size() > 0 ? overlay : null)  // shows it
        if (hidden) {
            imp.setHideOverlay(true)
        }
        return null
    }

    private static List<String> overlay(ImagePlus imp, String tag) {
        Overlay overlay = imp.getOverlay()
        if (overlay == null) {
            return []
        }
        // As in Rois.entries: painting gives ROIs without a colour one for a moment.
        return Rois.onEventThread(imp.getWindow() != null) {
            List<String> found = new ArrayList<String>()
            for (int i = 0; i < overlay.size(); i++) {
                if (overlay.get(i).getProperty(TAG) == tag) {
                    found.add(Rois.encoded(overlay.get(i)))
                }
            }
            return found
        }
    }

    private static List<Integer> canvas(ImagePlus imp) {
        ImageCanvas canvas = imp.getCanvas()
        if (canvas == null) {
            return null
        }
        Dimension size = canvas.getSize()
        List<Integer> found = [size.@width, size.@height]
        return found
    }

    private Object lookAt(Map with) {
        ImageCanvas canvas = asked(with).getCanvas()
        if (canvas != null) {
            canvas.setMagnification(((Number) with.get("level")).doubleValue())
            canvas.setSourceRect(new Rectangle(
                number(with.get("x")), number(with.get("y")), number(with.get("columns")), number(with.get("rows"))))
            canvas.repaint()
        }
        return null
    }

    // ---- talking

    private static Object tell(String method, Map with) {
        boolean headless = GraphicsEnvironment.isHeadless()
        switch (method) {
            case "status":
                IJ.showStatus(with.get("text").toString())
                break
            case "progress":
                IJ.showProgress(Math.min(((Number) with.get("fraction")).doubleValue(), 1.0d))
                break
            case "log":
                IJ.log(with.get("text").toString())
                break
            case "show_message":
                message(with.get("title").toString(), with.get("text").toString())
                break
            case "show_text":
                if (headless) {
                    IJ.log(with.get("text").toString())
                } else {
                    new TextWindow(with.get("title").toString(), with.get("text").toString(), 760, 360)
                }
                break
            case "show_table":
                table(with.get("title").toString(), (List) with.get("columns"), (List<List>) with.get("rows"), headless)
                break
            default:
                throw new IllegalArgumentException("Fiji's scripts are of another version; run stormseg install-fiji")
        }
        return null
    }

    /** A line in a window of its own, or in the Log where nobody could close it. */
    private static void message(String title, String text) {
        if (GraphicsEnvironment.isHeadless() || Interpreter.isBatchMode()) {
            IJ.log(title + ": " + text)
        } else {
            say(title, text)
        }
    }

    /** A message until the person closes it; who does so by Escape wants nothing else to end. */
    static void say(String title, String text) {
        try {
            shown { IJ.showMessage(title, text) }
        } catch (RuntimeException closed) {
            if (closed.getMessage() != Macro.MACRO_CANCELED) {
                throw closed
            }
        }
    }

    /** Shows what waits for the person, and forgets the Escape by which it was closed. */
    static void shown(Closure<?> window) {
        boolean before = IJ.escapePressed()
        try {
            window.call()
        } finally {
            if (!before) {
                IJ.resetEscape()
            }
        }
    }

    private static void table(String title, List columns, List<List> rows, boolean headless) {
        String head = columns.join("\t")
        List<String> lines = rows.collect { List row -> row.join("\t") }
        if (headless) {
            IJ.log(([title, head] + lines).join("\n"))
        } else {
            new TextWindow(title, head, lines.join("\n"), 900, 360)
        }
    }

    // ---- what JSON gives

    private ImagePlus asked(Map with) {
        return imageOf(number(with.get("image")))
    }

    /** The image if one is named and open. */
    private ImagePlus maybe(Map with) {
        Object image = with.get("image")
        return image == null ? null : found(number(image))
    }

    private static int number(Object value) {
        return ((Number) value).intValue()
    }

    private static long identity(Object value) {
        return ((Number) value).longValue()
    }

    private static List<Long> identities(Map with) {
        return ((List) with.get("identities")).collect { Object one -> identity(one) }
    }
}
