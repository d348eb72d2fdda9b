import groovy.transform.CompileStatic

import ij.ImagePlus
import ij.gui.ImageCanvas
import ij.gui.Roi
import ij.io.RoiDecoder
import ij.io.RoiEncoder
import ij.plugin.frame.Recorder
import ij.plugin.frame.RoiManager

import java.awt.EventQueue
import java.awt.GraphicsEnvironment
import java.lang.reflect.InvocationTargetException

/**
 * ImageJ's ROI Manager: what is in it, put in and taken out without touching the rest. As
 * stormseg_ij/bridge/manager.py; but identities are numbers of ours, and bytes that Python knows are not sent again.
 */
@CompileStatic
class Rois {

    private static final int REPAINTED = 10  // so many deletions may repaint the image one after the other

    private final Map<Roi, Long> identities = new IdentityHashMap<Roi, Long>()
    private final Map<Long, Roi> known = new HashMap<Long, Roi>()  // the other way round
    private final Map<Long, byte[]> sent = new HashMap<Long, byte[]>()
    private long last = 0

    /** Forgets what was sent: there is another worker, or an answer was lost. */
    synchronized void forget() {
        sent.clear()
    }

    /** All ROIs in the list's order, read at one moment; null where no ROI Manager is open. */
    synchronized Map entries() {
        RoiManager manager = instance()
        if (manager == null) {
            return null
        }
        List<Roi> listed = new ArrayList<Roi>()
        List<byte[]> files = new ArrayList<byte[]>()
        List<Integer> drawnIn = new ArrayList<Integer>()
        // Painting gives ROIs without a colour one for a moment: in the thread that paints, no such moment is seen.
        onEventThread(manager) {
            for (Roi roi : manager.getRoisAsArray()) {
                listed.add(roi)
                files.add(RoiEncoder.saveAsByteArray(roi))
                drawnIn.add(roi.getImageID())
            }
        }
        keepOnly(listed)
        List<Long> numbers = new ArrayList<Long>()
        Map<String, String> changed = new LinkedHashMap<String, String>()
        for (int i = 0; i < listed.size(); i++) {
            Long identity = identity(listed.get(i))
            numbers.add(identity)
            if (!Arrays.equals(files.get(i), sent.get(identity))) {
                sent.put(identity, files.get(i))
                changed.put(identity.toString(), text(files.get(i)))
            }
        }
        return [identities: numbers, drawn_in: drawnIn, changed: changed]
    }

    /** What changes with nearly all that a person does to the list: cheap, to see whether to look at all. */
    synchronized Object glance() {
        RoiManager manager = instance()
        if (manager == null) {
            return null
        }
        List<Object> seen = new ArrayList<Object>()
        onEventThread(manager) {
            for (Roi roi : manager.getRoisAsArray()) {
                seen.add(System.identityHashCode(roi))
                seen.add(roi.getName())
                seen.add(roi.getBounds())
                seen.add(roi.size())
                seen.add(roi.getPosition())
            }
        }
        return seen
    }

    /** Indexes of the selected entries, ascending. */
    List<Integer> selected() {
        RoiManager manager = instance()
        return manager == null ? new ArrayList<Integer>() : manager.getSelectedIndexes().toList()
    }

    /** Adds ROIs at the end, and shows all on the image if it is given; gives their identities. */
    synchronized List<Long> append(List<String> rois, ImagePlus imp) {
        List<Long> added = new ArrayList<Long>()
        if (rois.isEmpty()) {
            return added
        }
        RoiManager manager = opened()
        List<Roi> made = rois.collect { String roi -> decoded(roi) }
        onEventThread(manager) {
            // Adding one as the button does would repaint the image each time.
            for (Roi roi : made) {
                manager.add(imp, roi, -1)
                added.add(identity(manager.getRoi(manager.getCount() - 1)))
            }
        }
        if (imp != null) {
            showAll(imp)
        }
        return added
    }

    /** Puts a ROI in the place of another, with its own name; gives its identity, null where that one is gone. */
    synchronized Long replace(long old, String roi) {
        RoiManager manager = opened()
        Roi made = decoded(roi)
        List<Long> put = new ArrayList<Long>()
        onEventThread(manager) {
            Roi[] listed = manager.getRoisAsArray()
            int place = listed.findIndexOf { Roi one -> identities.get(one) == old }
            if (place >= 0) {
                String name = made.getName()
                manager.setRoi(made, place)
                manager.rename(place, name)
                put.add(identity(manager.getRoi(place)))
            }
        }
        return put.isEmpty() ? null : put.get(0)
    }

    /** Takes ROIs out, and repaints the image if it is given; those that are gone already are none. */
    synchronized void delete(Collection<Long> doomed, ImagePlus imp) {
        RoiManager manager = instance()
        if (manager == null || doomed.isEmpty()) {
            return
        }
        Set<Long> wanted = new HashSet<Long>(doomed)
        boolean shown = imp != null && showsAll(imp)
        if (shown && wanted.size() > REPAINTED) {
            manager.runCommand(imp, "Show None")
        }
        unrecorded {
            onEventThread(manager) {
                Roi[] listed = manager.getRoisAsArray()
                for (int i = listed.length - 1; i >= 0; i--) {
                    if (identities.get(listed[i]) in wanted) {
                        manager.delete(i)
                    }
                }
            }
        }
        if (shown && wanted.size() > REPAINTED) {
            showAll(imp)
        }
    }

    /** Selects one entry, in the list and as the image's selection. */
    void select(ImagePlus imp, int index) {
        RoiManager manager = opened()
        unrecorded { manager.selectAndMakeVisible(imp, index) }
    }

    /** Selects no entry. */
    void deselect() {
        RoiManager manager = instance()
        if (manager != null && manager.getSelectedIndexes().length > 0) {
            unrecorded { manager.setSelectedIndexes(new int[0]) }
        }
    }

    /** The ROI in the list that has this identity; null where it is gone. */
    synchronized Roi of(long identity) {
        RoiManager manager = instance()
        Roi wanted = known.get(identity)
        if (manager != null && wanted != null) {
            for (Roi roi : manager.getRoisAsArray()) {
                if (roi.is(wanted)) {
                    return wanted
                }
            }
        }
        return null
    }

    /** Makes a ROI of a .roi file in base64. */
    static Roi decoded(String roi) {
        Roi made = RoiDecoder.openFromByteArray(Base64.getDecoder().decode(roi))
        if (made == null) {
            throw new IllegalStateException("ImageJ could not take a ROI: these are not the bytes of a .roi file")
        }
        return made
    }

    /** Writes a ROI as a .roi file in base64. */
    static String encoded(Roi roi) {
        return text(RoiEncoder.saveAsByteArray(roi))
    }

    private static String text(byte[] file) {
        return Base64.getEncoder().encodeToString(file)
    }

    // ---- identities

    /** The number of a ROI object, the same as long as the list holds it; Update puts another object there. */
    private Long identity(Roi roi) {
        Long found = identities.get(roi)
        if (found == null) {
            found = ++last
            identities.put(roi, found)
            known.put(found, roi)
        }
        return found
    }

    /** Forgets ROIs that have left the list: they would stay in memory. */
    private void keepOnly(List<Roi> listed) {
        Map<Roi, Boolean> there = new IdentityHashMap<Roi, Boolean>()
        for (Roi roi : listed) {
            there.put(roi, true)
        }
        identities.keySet().removeIf { Roi roi -> !there.containsKey(roi) }
        known.values().removeIf { Roi roi -> !there.containsKey(roi) }
        sent.keySet().removeIf { Long identity -> !known.containsKey(identity) }
    }

    // ---- the ROI Manager

    private static boolean showsAll(ImagePlus imp) {
        ImageCanvas canvas = imp.getCanvas()
        return canvas != null && canvas.getShowAllList() != null
    }

    /** Ticks "Show All"; the image keeps its selection. */
    private static void showAll(ImagePlus imp) {
        RoiManager manager = instance()
        if (manager != null && imp.getWindow() != null) {
            Roi selection = imp.getRoi()
            manager.runCommand(imp, "Show All")
            if (selection != null) {
                imp.setRoi(selection)
            }
        }
    }

    private static RoiManager instance() {
        return GraphicsEnvironment.isHeadless() ? null : RoiManager.getInstance2()
    }

    private static RoiManager opened() {
        if (GraphicsEnvironment.isHeadless()) {
            throw new IllegalStateException("the ROI Manager needs a display; use the Overlay")
        }
        RoiManager found = instance()
        return found != null ? found : RoiManager.getRoiManager()
    }

    /** Keeps what is selected out of the recorder: the command's own line selects it again. */
    private static void unrecorded(Closure<?> work) {
        boolean before = Recorder.record
        Recorder.record = false
        try {
            work.call()
        } finally {
            Recorder.record = before
        }
    }

    /**
     * Does work in the thread that paints windows, where lists that are shown must be changed; waits for it. What is
     * not on a screen needs no other thread.
     */
    private static void onEventThread(RoiManager manager, Closure<?> work) {
        if (!manager.isVisible() || EventQueue.isDispatchThread()) {
            work.call()
            return
        }
        try {
            EventQueue.invokeAndWait(work as Runnable)
        } catch (InvocationTargetException failed) {
            throw failed.getCause()
        }
    }
}
